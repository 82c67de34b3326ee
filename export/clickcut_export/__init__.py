"""Export: from a checkpoint of the training sidecar to a bundle that the engine loads."""
