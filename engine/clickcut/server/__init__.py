"""The gRPC server: sessions over the wire. Pixels are left to `clickcut.session`."""
