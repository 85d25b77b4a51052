"""Sensors: wait for something that another party started."""
