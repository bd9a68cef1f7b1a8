"""The infusion room: sessions of signed plans, gates, the infusion's log, vitals and their alerts, drug, discharge.

Ketamine only: other programmes have no chair, so this service speaks the words of ``therapies.ketamine``.
"""
