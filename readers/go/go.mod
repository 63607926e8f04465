module waxseal/reader

go 1.19
