document.getElementById("said").textContent = "ready";
