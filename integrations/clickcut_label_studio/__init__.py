"""A machine learning backend of Label Studio that answers smart clicks with masks.

`clickcut label-studio` serves it. Label Studio sends every click that is not accepted yet, in
percent of the image; the backend turns a list that extends the last one into one click of an open
session on the engine, and answers with a brush or polygon region. Images are fetched from Label
Studio once and sent to the engine once.
"""
