"""What an author of releases needs: no host is opened here, and only `writing` makes a file."""
