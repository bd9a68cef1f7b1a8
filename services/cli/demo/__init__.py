"""The demo: a patient's whole path, played through the public routes by the people whose part it is."""
