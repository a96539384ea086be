"""What is made or fetched by the Makefile."""
