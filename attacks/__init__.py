"""The adversary: targeted poisoning and backdoors with several triggers, each of which writes down its own exam."""
