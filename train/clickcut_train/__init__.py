"""Training sidecar: from photographs with masks to a checkpoint of a click-conditioned FCN."""
