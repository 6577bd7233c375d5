"""Container engines: Docker and Podman through one API, and plain processes for development."""
