"""What joins the ranks: one small protocol, and three ways to fill it."""
