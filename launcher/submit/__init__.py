"""Starting, following and cancelling what is not done."""
