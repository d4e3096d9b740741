"""What a room can do, one module or package per area. A service knows no wire and no other service's insides."""
