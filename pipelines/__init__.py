"""The wiring: definitions, jobs, schedule, sensors and what runs need around them."""
