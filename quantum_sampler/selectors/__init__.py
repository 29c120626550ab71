"""One selector a file: module `name` holds the class `Name` and its `NameConfig`."""
