"""One foreign system per file, behind a port; each translates that system's errors into ours."""
