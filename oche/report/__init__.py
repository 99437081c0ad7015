"""What people read: drawings, tables, progress."""
