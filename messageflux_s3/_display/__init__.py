"""What a notebook shows: tables, previews, usage."""
