"""What is in force here and from where, what there is, and what is missing for what."""
