"""Tables, previews and usage reports for notebooks and terminals."""
