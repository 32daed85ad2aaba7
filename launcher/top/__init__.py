"""launcher top: runs on a full screen. The only folder that imports textual, which few installations need."""
