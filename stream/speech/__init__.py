"""From one language to another: what hears, translates and speaks. Back ends run as programs of their own."""
