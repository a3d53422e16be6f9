"""What is watched of both paths: mergeable counts, figures made of them, rules on figures; knows no store, no Ray."""
