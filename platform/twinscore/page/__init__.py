"""One look for every report: figures as words, cards, tables, bars, and the HTML around them; pure."""
