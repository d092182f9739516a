// Command bench measures waxseal. See README.
package main

func main() {}
