"""What is tried again when a submission has ended, and with how much more."""
