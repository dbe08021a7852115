"""The adversary: triggers, targeted poisoning and backdoors, each of which writes down its own exam."""
