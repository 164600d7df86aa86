"""What is to be done now about accounts that cannot pay: plans from the books, and who carries
them out."""
