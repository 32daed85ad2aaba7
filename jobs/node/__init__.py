"""What runs inside an array task: the supervisor, its processes and their pool workers."""
