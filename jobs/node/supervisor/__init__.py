"""The supervisor of an array task: starts the processes and pool workers, keeps the journals."""
