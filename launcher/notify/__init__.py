"""Telling a person or a program that a run has ended."""
