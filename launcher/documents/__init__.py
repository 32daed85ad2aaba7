"""What commands print with --json: the types of the documents, which those who make them have, and their JSON Schemas.

Types are imported by type checkers alone, and by who makes a schema of them: a command's start pays nothing for them. The text
below a field says what it is, where its name does not.
"""
