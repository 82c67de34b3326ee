"""The gRPC server: sessions over the wire. It knows nothing of pixels; `clickcut.session` does."""
