"""What only one paper's part of the page needs."""
