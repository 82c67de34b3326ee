"""The server on several machines: a Ray Serve application around the engine's server core."""
