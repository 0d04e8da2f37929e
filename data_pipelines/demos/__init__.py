"""Embedded data of the demonstrations: pictures, films and turntables with captions that say what is in them."""
