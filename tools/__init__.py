"""What the project is built with, and no part of what is shipped."""
