"""Local models: catalogue, download, server."""
