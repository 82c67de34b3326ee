"""clickcut."""
