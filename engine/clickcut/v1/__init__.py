"""The wire contract: stubs that scripts/generate_stubs.py makes from proto/clickcut/v1."""
