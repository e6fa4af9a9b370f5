"""What we ship and what it is made of: the oldest dependencies declared, the locked ones, the SBOM, the manifests."""
