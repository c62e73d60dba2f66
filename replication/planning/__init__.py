"""What would run and why; what Snakemake needs to know of it. No torch."""
