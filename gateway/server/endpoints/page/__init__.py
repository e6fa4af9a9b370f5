"""The operators' page: one HTML file with its style and script inside, filled in by the server."""
