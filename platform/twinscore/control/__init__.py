"""The part of the platform that acts by itself: looks, decides by the rooms below, and makes what is wanted so."""
