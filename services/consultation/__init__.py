"""Enquiries, people and their care teams, questionnaires and suicide screens: where a patient's path begins."""
