"""What `import clickcut` offers. Each module is imported when one of its names is first used."""
