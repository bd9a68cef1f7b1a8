"""Between visits: contact book, reminders, checks and questionnaires, outcomes, tasks, guidance, and the care journey."""
