"""What may be chosen, and where: architectures, domains and the published spaces."""
