// Dark or light, before anything is painted: the system's choice until another one is made here.
document.documentElement.style.colorScheme = localStorage.getItem("scheme") ?? "light dark";
