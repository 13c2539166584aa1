from vvmigrate import environment

environment.run()
