"""A plugin for napari: click in an image layer, get a labels layer. A client of the engine.

`plane` says which plane of a layer is shown, `look` what it looks like; `engine_thread` talks to
the engine beside the window; `layers` holds the clicks and the labels; `selector` connects them;
`widget` is the dock.
"""
